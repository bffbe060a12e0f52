"""Albums: the pictures and films of folders, analysed file by file, kept so that a run goes on."""

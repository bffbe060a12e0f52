"""Films: decoded while the device works, at constant memory, kept so that a run goes on."""

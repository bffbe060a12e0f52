/**
 * Shows in the list of model packs which of them are not installed, and not for commercial use. The values stay the names.
 *
 * Front ends up to 1.27 show values as they are; there the tooltip says it.
 */
import { app } from "../../../scripts/app.js"

const INPUT = "model_pack"

app.registerExtension({
  name: "FastFace.PackLabels",

  nodeCreated(node) {
    const data = node.constructor.nodeData
    if (!data?.name?.startsWith("FastFace")) return
    const declared = data.input?.required?.[INPUT]?.[1]
    const toDownload = declared?.to_download
    const nonCommercial = declared?.non_commercial ?? []
    const widget = node.widgets?.find(({ name }) => name === INPUT)
    if (!toDownload || !widget) return
    // Options may be shared by all nodes of a type: this one gets its own.
    widget.options = {
      ...widget.options,
      getOptionLabel: (name) => {
        if (!toDownload.includes(name)) return `${name ?? ""}`
        return `${name} (to download${nonCommercial.includes(name) ? "; non-commercial" : ""})`
      },
    }
  },
})

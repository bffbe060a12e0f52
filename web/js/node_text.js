/**
 * Shows the text that a FastFace node returns (`ui.text`) on the node.
 *
 * The text is no value of the node: it is never written to a workflow, an image or a prompt. The
 * front end itself remembers the outputs of open workflows while one switches between them; for a
 * reload of the page the texts are kept in the session storage of the browser's tab.
 */
import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { recallTexts, rememberText } from "./text_memory.js"
import { dropSavedText } from "./saved_text.js"

const WIDGET = "fastface_text"
const LINE_HEIGHT_PX = 14
const CHARACTER_WIDTH_PX = 6.1
const PADDING_PX = 6
const MOST_LINES_UNASKED = 8

app.registerExtension({
  name: "FastFace.NodeText",

  // What a node says while it runs, such as how far it is.
  setup() {
    api.addEventListener("fastface.node_text", ({ detail }) => {
      const node = nodeOf(detail.node)
      if (node) put(node, detail.text)
    })
  },

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("FastFace")) return

    const configure = nodeType.prototype.configure
    nodeType.prototype.configure = function (saved) {
      dropSavedText(saved)
      return configure.apply(this, arguments)
    }

    const onExecuted = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments)
      // Later, when the front end has noted to which workflow the output belongs.
      queueMicrotask(() => {
        if (!isOfAnotherWorkflow(output)) show(this, textOf(output))
      })
    }
  },

  // After a reload of the page, and whenever a workflow is opened.
  afterConfigureGraph() {
    const texts = recallTexts(rootGraph().id)
    for (const node of ourNodes()) {
      const text = texts.get(locatorOf(node))
      if (text) show(node, text)
    }
  },

  // When the front end brings back the outputs of an open workflow.
  onNodeOutputsUpdated(outputs) {
    for (const node of ourNodes()) {
      const output = outputs[locatorOf(node)]
      if (output) show(node, textOf(output))
    }
  },
})

function textOf(output) {
  return [output?.text ?? []].flat().join("\n")
}

/** Nodes of a job are looked up by id alone, in whichever workflow is shown when they end. */
function isOfAnotherWorkflow(output) {
  const { openWorkflows = [], activeWorkflow } = app.extensionManager?.workflow ?? {}
  return openWorkflows.some(
    ({ path, changeTracker }) =>
      path !== activeWorkflow?.path &&
      Object.values(changeTracker?.nodeOutputs ?? {}).includes(output),
  )
}

function rootGraph() {
  return app.rootGraph ?? app.graph
}

function ourNodes() {
  const root = rootGraph()
  return [root, ...(root.subgraphs?.values() ?? [])]
    .flatMap((graph) => graph.nodes)
    .filter((node) => node.comfyClass?.startsWith("FastFace"))
}

/** The name by which the front end knows a node's outputs: in a subgraph, with its id. */
function locatorOf(node) {
  return node.graph === rootGraph() ? String(node.id) : `${node.graph.id}:${node.id}`
}

/** The node of an id that ComfyUI runs it by: in a subgraph, behind those of the nodes around it. */
function nodeOf(id) {
  const isInside = id.includes(":")
  const own = id.split(":").at(-1)
  return ourNodes().find(
    (node) => String(node.id) === own && (node.graph !== rootGraph()) === isInside,
  )
}

function show(node, text) {
  rememberText(rootGraph().id, locatorOf(node), text)
  put(node, text)
}

function put(node, text) {
  let widget = node.widgets?.find(({ name }) => name === WIDGET)
  if (!text) {
    if (widget) node.removeWidget(widget)
    return
  }
  widget ??= addTextWidget(node)
  widget.value = text
  const [, height] = node.computeSize()
  if (node.size[1] < height) node.setSize([node.size[0], height])
  node.setDirtyCanvas(true, true)
}

function addTextWidget(node) {
  const element = document.createElement("textarea")
  element.className = "comfy-multiline-input"
  element.readOnly = true
  element.spellcheck = false
  element.setAttribute("aria-label", `Result of ${node.title}`)
  Object.assign(element.style, {
    boxSizing: "border-box",
    font: `10px/${LINE_HEIGHT_PX}px monospace`,
    padding: `${PADDING_PX / 2}px`,
    resize: "none",
  })
  letCanvasPanAndZoom(element)

  const linesShown = (most) => Math.min(most, lineCount(element.value, node.size[0]))
  const height = (lines) => lines * LINE_HEIGHT_PX + PADDING_PX + 2 * widget.margin
  const widget = node.addDOMWidget(WIDGET, "fastface_text", element, {
    serialize: false, // not in prompts
    hideInPanel: true,
    getValue: () => element.value,
    setValue(text) {
      element.value = text
      // Columns are only columns unwrapped.
      element.wrap = /\S {3,}\S/.test(text) ? "off" : "soft"
      element.style.minHeight = `${linesShown(MOST_LINES_UNASKED) * LINE_HEIGHT_PX + PADDING_PX}px`
    },
    getMinHeight: () => height(linesShown(MOST_LINES_UNASKED)),
    getMaxHeight: () => height(linesShown(Infinity)),
  })
  widget.serialize = false // not in workflows
  return widget
}

function lineCount(text, nodeWidth) {
  const columns = Math.max(20, Math.floor((nodeWidth - 40) / CHARACTER_WIDTH_PX))
  const lines = text.split("\n")
  if (/\S {3,}\S/.test(text)) return lines.length + 1 // the scroll bar
  return lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0)
}

/** What is not for the text is for the canvas under it, as with the front end's own text boxes. */
function letCanvasPanAndZoom(element) {
  const isMiddleButton = ({ button, buttons }) => button === 1 || (buttons & 4) !== 0
  for (const [event, handler] of [
    ["pointerdown", "processMouseDown"],
    ["pointermove", "processMouseMove"],
    ["pointerup", "processMouseUp"],
  ])
    element.addEventListener(event, (pointer) => {
      if (isMiddleButton(pointer)) app.canvas[handler](pointer)
    })
  element.addEventListener("wheel", (wheel) => {
    wheel.stopPropagation()
    if (wheel.ctrlKey || element.scrollHeight <= element.clientHeight) {
      wheel.preventDefault()
      app.canvas.processMouseWheel(wheel)
    }
  })
}

/** Texts of nodes for as long as the browser's tab is open: they survive a reload of the page. */

const KEY = "FastFace.NodeText"
const MOST_TEXTS = 200
const LONGEST_TEXT = 8000

/** The texts of a workflow's nodes, by the nodes' names. */
export function recallTexts(workflowId) {
  return new Map(
    read()
      .filter(([workflow]) => workflow === workflowId)
      .map(([, node, text]) => [node, text]),
  )
}

/** Keeps a node's text; an empty one is forgotten. The oldest make room. */
export function rememberText(workflowId, node, text) {
  const others = read().filter(([workflow, name]) => workflow !== workflowId || name !== node)
  const added = text ? [[workflowId, node, text.slice(0, LONGEST_TEXT)]] : []
  write([...others, ...added].slice(-MOST_TEXTS))
}

function read() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(KEY) ?? "[]")
    return Array.isArray(stored) ? stored : []
  } catch (error) {
    console.warn("FastFace: texts of nodes are not kept over a reload:", error)
    return []
  }
}

function write(entries) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(entries))
  } catch (error) {
    // Full, or not allowed: only the next reload is without the texts.
    console.warn("FastFace: texts of nodes are not kept over a reload:", error)
  }
}

/**
 * Reads workflows that were saved after a run with version 0.1.0: front end 1.27 wrote the text on
 * a node behind the values of its widgets, where a later version may have a widget of its own.
 *
 * No widget of these nodes takes line breaks and each of those texts has some, so it is known by
 * them; holes (null) come from widgets that are not saved.
 */
export function dropSavedText(saved) {
  const values = saved.widgets_values
  if (!Array.isArray(values)) return
  const isText = (value) => typeof value === "string" && value.includes("\n")
  let count = values.length
  while (count && (values[count - 1] == null || isText(values[count - 1]))) count--
  if (count < values.length) saved.widgets_values = values.slice(0, count)
}

"""ComfyUI's front end in a browser: what a user does with it, and what it shows."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.comfyui.comfyui_server import ComfyServer

READY = """() => {
    const app = window.comfyAPI?.app?.app
    return Boolean(app?.graph && app.extensionManager && !app.extensionManager.spinner
        && window.LiteGraph?.registered_node_types?.FastFaceLoader)
}"""

SERIALIZE = "() => window.comfyAPI.app.app.graph.serialize()"

#: What is exported, queued and written into images.
EXPORT = "async () => (await window.comfyAPI.app.app.graphToPrompt()).workflow"

NODES = """() => window.comfyAPI.app.app.graph.nodes.map((node) => ({
    id: node.id,
    type: node.type,
    title: node.title,
    widgets: Object.fromEntries((node.widgets ?? []).map(({name, value}) => [name, value])),
}))"""

TEXTS = """() => {
    const graphs = (graph) => [graph, ...(graph.subgraphs?.values() ?? [])]
    const nodes = graphs(window.comfyAPI.app.app.graph).flatMap((graph) => graph.nodes)
    const texts = nodes.map((node) => [
        `${node.type} ${node.id}`, node.widgets?.find(({name}) => name === "fastface_text")?.value,
    ])
    return Object.fromEntries(texts.filter(([, text]) => text !== undefined))
}"""

OUTPUTS = "() => window.comfyAPI.app.app.nodeOutputs"

ENDED = """() => {
    window.ended = null
    for (const event of ["execution_success", "execution_error", "execution_interrupted"])
        window.comfyAPI.api.api.addEventListener(
            event, ({ detail }) => { window.ended = { event, ...detail } }, { once: true })
}"""

#: Where the text on a node is on the screen, once the node is in its middle: width and height.
LOOK_AT = """async (id) => {
    const canvas = window.comfyAPI.app.app.canvas
    const node = canvas.graph.getNodeById(id)
    canvas.ds.scale = 1
    canvas.centerOnNode(node)
    canvas.setDirty(true, true)
    await new Promise((done) => setTimeout(done, 500))
    const element = node.widgets.find(({name}) => name === "fastface_text").element
    const { left, top, width, height } = element.getBoundingClientRect()
    const there = document.elementFromPoint(left + width / 2, top + height / 2)
    return { width, height, isOnTop: there === element }
}"""


@dataclass(frozen=True)
class Run:
    """How a run ended.

    Attributes:
        event: `execution_success`, `execution_error`, `execution_interrupted`, or `refused`.
        details: The event's, or ComfyUI's reasons for the refusal.
        sent: The prompt, as the front end sent it.
    """

    event: str
    details: dict[str, Any]
    sent: dict[str, Any]

    def lacks_what_others_bring(self, ours: Container[str]) -> bool:
        """Whether it was refused only since nodes or models of other packs are not here.

        Args:
            ours: The types of this pack's nodes.
        """
        if self.event != "refused":
            return False
        if self.details["error"]["type"] == "missing_node_type":
            return self.details["error"]["extra_info"]["class_type"] not in ours
        return all(
            error["type"] == "value_not_in_list" and node["class_type"] not in ours
            for node in self.details["node_errors"].values()
            for error in node["errors"]
        )


class FrontEnd:
    """A page with the front end of a running ComfyUI.

    Attributes:
        errors: What the browser's console said of this pack's scripts, as errors.
    """

    def __init__(self, page: Any, server: ComfyServer, pictures: Path | None) -> None:
        self.page, self.server, self._pictures = page, server, pictures
        self.errors: list[str] = []
        page.set_default_timeout(120_000)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._note(f"{error} {error.stack}"))

    def _on_console(self, message: Any) -> None:
        # The front end also asks servers that no test can reach about packs by their names.
        where = message.location.get("url", "")
        is_here = where.startswith(self.server.address)
        if message.type == "error":
            self._note(f"{message.text} ({where})" if is_here else message.text)

    def _note(self, error: str) -> None:
        if "fastface" in error.lower():
            self.errors.append(error)

    def take_picture(self, name: str) -> None:
        """Keeps what is seen, for people to look at."""
        if self._pictures:
            self.page.screenshot(path=self._pictures.with_name(f"{self._pictures.name}{name}.png"))

    def open(self) -> None:
        self.page.goto(self.server.address)
        self.page.wait_for_function(READY)
        # It opens the workflow that it remembers, or the one for newcomers.
        self.page.wait_for_function("() => window.comfyAPI.app.app.graph.nodes.length")

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_function(READY)
        self.page.wait_for_function("() => window.comfyAPI.app.app.graph.nodes.length")

    def open_template(self, pack: str, name: str) -> None:
        """Opens one of a pack's templates in a tab of its own, as the list of templates does."""
        self.open_workflow(self.server.call(f"/api/workflow_templates/{pack}/{name}.json"), name)

    def open_workflow(self, workflow: dict[str, Any], name: str) -> None:
        """Opens a workflow in a tab of its own."""
        self.page.evaluate(
            """async ([workflow, name]) => {
                await window.comfyAPI.app.app.loadGraphData(
                    workflow, true, true, name, { openSource: "template" })
            }""",
            [workflow, name],
        )

    def switch_to(self, name: str) -> None:
        """Shows the tab of an open workflow."""
        tab = ".workflow-tabs .p-togglebutton, .workflow-tab"
        self.page.locator(tab, has_text=name).first.click()
        self.page.wait_for_function(
            "name => window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow.path"
            ".includes(name)",
            arg=name,
        )

    def set(self, setting: str, value: Any) -> None:
        self.page.evaluate(
            "([name, value]) => window.comfyAPI.app.app.extensionManager.setting.set(name, value)",
            [setting, value],
        )

    def queue(self) -> Run | None:
        """Queues the workflow; what came of it, if it was refused."""
        self.page.evaluate(ENDED)
        with self.page.expect_response(lambda answer: answer.url.endswith("/prompt")) as answered:
            self.page.evaluate("() => { window.comfyAPI.app.app.queuePrompt(0) }")
        answer = answered.value
        self._sent = json.loads(answer.request.post_data)
        details = answer.json()
        return None if answer.ok else Run("refused", details, self._sent["prompt"])

    def wait_for_end(self) -> Run:
        """Waits until what was queued has ended."""
        self.page.wait_for_function("() => window.ended", timeout=600_000)
        self.page.wait_for_timeout(500)  # the last outputs are shown
        ended = self.page.evaluate("() => window.ended")
        return Run(ended["event"], ended, self._sent["prompt"])

    def run(self) -> Run:
        return self.queue() or self.wait_for_end()

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes of the shown graph, with the values of their widgets by name."""
        return self.page.evaluate(NODES)

    def texts(self) -> dict[str, str]:
        """The texts that this pack shows, by type and id of the node."""
        return self.page.evaluate(TEXTS)

    def outputs(self) -> dict[str, dict[str, Any]]:
        """What the nodes of the shown workflow gave to be shown, by their ids.

        Front end 1.27 has null for the first of two LoadImage of one file.
        """
        outputs = self.page.evaluate(OUTPUTS)
        return {node: output for node, output in outputs.items() if output is not None}

    def look_at_text(self, node_id: int) -> dict[str, Any]:
        """Brings a node into view: width and height of its text, and whether it can be seen."""
        return self.page.evaluate(LOOK_AT, node_id)

    def saved(self) -> dict[str, Any]:
        """The workflow as the front end saves it."""
        return self.page.evaluate(SERIALIZE)

    def exported(self) -> dict[str, Any]:
        """The workflow as the front end exports it and writes it into images."""
        return self.page.evaluate(EXPORT)


def widget_values(workflow: dict[str, Any]) -> dict[int, list[Any]]:
    """What a saved workflow holds of the widgets of each node."""
    return {node["id"]: node.get("widgets_values") or [] for node in workflow["nodes"]}

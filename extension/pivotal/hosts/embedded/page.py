"""The embedded host's page: a checkpoint, the txt2img tab, and the tabs that others add."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from pivotal.errors import PivotalError
from pivotal.hosts.embedded.gallery import for_page, save_images
from pivotal.hosts.embedded.gradio_compat import queue, quietly
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.txt2img import LARGEST, Txt2Img
from pivotal.models.generate import GenerateSettings
from pivotal.models.samplers import SAMPLERS

log = logging.getLogger(__name__)

FALLBACK_SIDE = 512  # px, while there is no checkpoint
STEPS, CFG_SCALE, SEED = 20, 7.0, -1


@dataclass(frozen=True)
class Tab:
    """A tab that somebody adds."""

    title: str
    identifier: str
    build: Callable[[], None]


def build_page(host: EmbeddedHost, tabs: Sequence[Tab]) -> gr.Blocks:
    """The whole page."""
    actions = _Actions(host)
    with gr.Blocks(title="Pivotal", analytics_enabled=False) as page:
        with gr.Row(elem_id="quicksettings"):
            checkpoint = gr.Dropdown(choices=list(host.checkpoints()), value=host.selected or None, label="Checkpoint",
                                     elem_id="setting_sd_model_checkpoint", scale=3)
            with gr.Column(scale=2):
                told = gr.HTML(actions.checkpoint_html(), elem_id="html_info_checkpoint")
                reload_list = gr.Button("Look for new checkpoints", elem_id="refresh_sd_model_checkpoint", size="sm")
        with gr.Tabs(elem_id="tabs"):
            with gr.TabItem("txt2img", id="txt2img", elem_id="tab_txt2img"):
                sizes = _build_txt2img(actions)
            for tab in tabs:
                with gr.TabItem(tab.title, id=tab.identifier, elem_id=f"tab_{tab.identifier}"):
                    tab.build()
        quietly(checkpoint.change, actions.choose, [checkpoint], [told, *sizes])
        quietly(reload_list.click, actions.list_again, [], [checkpoint, told])
        quietly(page.load, actions.open, [], [checkpoint, told, *sizes])
    queue(page)
    return page


def _build_txt2img(actions: _Actions) -> list[Any]:
    """The tab; returns the size sliders, whose values follow the checkpoint."""
    with gr.Row():
        with gr.Column(scale=6):
            prompt = gr.Textbox(label="Prompt", lines=3, elem_id="txt2img_prompt", show_label=False,
                                placeholder="Prompt: words, names of embeddings, <lora:name:1>, (more:1.3), [less]")
            negative = gr.Textbox(label="Negative prompt", lines=2, elem_id="txt2img_neg_prompt", show_label=False,
                                  placeholder="Negative prompt: what the image shall not show")
        with gr.Column(scale=1, min_width=140):
            generate = gr.Button("Generate", variant="primary", elem_id="txt2img_generate")
            interrupt = gr.Button("Interrupt", elem_id="txt2img_interrupt")
    with gr.Row():
        with gr.Column(scale=1):
            with gr.Row():
                sampler = gr.Dropdown(list(SAMPLERS), value="Euler", label="Sampling method", elem_id="txt2img_sampling")
                steps = gr.Slider(1, 150, value=STEPS, step=1, label="Sampling steps", elem_id="txt2img_steps")
            width = gr.Slider(64, 2048, value=actions.side(), step=8, label="Width", elem_id="txt2img_width")
            height = gr.Slider(64, 2048, value=actions.side(), step=8, label="Height", elem_id="txt2img_height")
            cfg_scale = gr.Slider(1, 30, value=CFG_SCALE, step=0.5, label="CFG scale", elem_id="txt2img_cfg_scale")
            with gr.Row():
                seed = gr.Number(value=SEED, label="Seed (-1: another each time)", precision=0, elem_id="txt2img_seed")
                batch = gr.Slider(1, 8, value=1, step=1, label="Batch size", elem_id="txt2img_batch_size")
        with gr.Column(scale=1):
            gallery = gr.Gallery(label="Images", show_label=False, elem_id="txt2img_gallery", columns=2, height=480,
                                 preview=True, object_fit="contain")
            info = gr.HTML("", elem_id="html_info_txt2img")
    generate.click(actions.txt2img, inputs=[prompt, negative, steps, sampler, width, height, cfg_scale, seed, batch],
                   outputs=[gallery, info], api_name="txt2img")
    quietly(interrupt.click, actions.interrupt, [], [])
    return [width, height]


class _Actions:
    """What the page's widgets do."""

    def __init__(self, host: EmbeddedHost):
        self.host = host

    def txt2img(self, prompt: str, negative: str, steps: float, sampler: str, width: float, height: float,
                cfg_scale: float, seed: float, batch: float, progress: Any = gr.Progress()) -> tuple[Any, str]:
        """Draws, saves, shows; what goes wrong is shown as well."""
        try:
            settings = GenerateSettings(int(width), int(height), int(steps), sampler, float(cfg_scale),
                                        SEED if seed is None else int(seed), int(batch))
            if self.host.is_busy:
                progress((0, settings.steps), desc="Waiting: the model is in use")
            drawn = self.host.generate(Txt2Img(prompt or "", negative or "", settings),
                                       lambda done, of: progress((done, of), desc="Sampling"))
            paths = save_images(self.host.outputs, drawn.images, drawn.infotexts, drawn.seed)
            shown = for_page(paths, self.host.folders().scratch / "gallery")
        except PivotalError as error:
            return gr.update(), problem_html([str(error)])
        except Exception as error:
            log.exception("txt2img failed")
            return gr.update(), problem_html([f"That did not work: {type(error).__name__}. The log has the details."])
        if not drawn.images:
            return gr.update(), problem_html(["Interrupted.", *drawn.notices])
        texts = [f"<p>{escape(text)}</p>".replace("\n", "<br>") for text in drawn.infotexts]
        saved = f"<p><small>Saved: {escape(', '.join(map(str, paths)))}</small></p>"
        return [str(path) for path in shown], problem_html(drawn.notices) + "".join(texts) + saved

    def interrupt(self) -> None:
        """Stops whoever uses the model."""
        self.host.interrupt()

    def side(self) -> int:
        """The chosen checkpoint's resolution, px."""
        try:
            return min(self.host.described().resolution, LARGEST)
        except PivotalError:
            return FALLBACK_SIDE

    def choose(self, name: str | None) -> list[Any]:
        """Another checkpoint, and the sizes that suit it; a choice that cannot be is told and not made."""
        try:
            if name and name != self.host.selected:
                self.host.select(name)
        except PivotalError as error:
            return [problem_html([str(error), f"{self.host.selected} stays chosen."]), gr.update(), gr.update()]
        return [self.checkpoint_html(), *[gr.update(value=self.side())] * 2]

    def list_again(self) -> list[Any]:
        """New files in the models folder."""
        names = list(self.host.checkpoints())
        return [gr.update(choices=names, value=self.host.selected or None), self.checkpoint_html()]

    def open(self) -> list[Any]:
        """A page that is opened, or opened again after the choice was made in another one."""
        return [*self.list_again(), *[gr.update(value=self.side())] * 2]

    def checkpoint_html(self) -> str:
        """What is chosen, in words."""
        try:
            described = self.host.described()
        except PivotalError as error:
            return problem_html([str(error)])
        return f"<small>{escape(described.family.title)}, {described.resolution} px</small>"


def problem_html(sentences: Sequence[str]) -> str:
    """Sentences that must be seen."""
    return "".join(f'<p class="pivotal-host-problem" role="alert">⚠ {escape(sentence)}</p>' for sentence in sentences)

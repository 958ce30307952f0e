"""From the Train tab's run to the prompt: what is trained is used at once, and nothing else changes."""

import html
import json
from pathlib import Path

import pytest
from PIL import Image

from fake_host import write_dataset
from host.client import LORA, alike, apart, differ, embedding

pytestmark = pytest.mark.host
STRINGS = Path(__file__).parents[1] / "unit" / "prompts" / "a1111_counts.json"
VECTORS = {"zkwemb": 2, "my style word": 3, "bigemb": 40, "<angle>": 1}  # what the host had when they were recorded


def test_the_tab_is_in_the_page_once(webui):
    _, config = webui.ask("/config")
    tabs = [part["props"].get("label") for part in config["components"] if part["type"] == "tabitem"]
    assert tabs.count("Pivotal") == 1


def test_a_trained_word_is_used_at_once_and_so_is_its_next_version(webui, images, unrelated, word):
    before = webui.draw(f"a {word} circle")
    webui.train(images, word, **embedding(word), **{"length.steps": 5})
    after = webui.draw(f"a {word} circle")  # the same text as before: the host has it in its cache of encoded prompts
    assert after != before
    assert webui.draw("an unrelated cat") == unrelated
    assert webui.ask("/pivotal/v1/tokens", {"text": f"a {word} circle"})[1]["count"] == 4  # its two vectors
    webui.train(images, word, **embedding(word), seed=99)
    assert webui.draw(f"a {word} circle") not in (before, after)
    assert webui.draw("an unrelated cat") == unrelated


def test_images_of_mixed_sizes_mirrored_and_kept_on_disk_make_a_network_that_works(webui, images, tmp_path, unrelated, word):
    """`images` are of six sizes; three more, held out, are only measured on."""
    held_out = write_dataset(tmp_path / "held out", 3)
    options = LORA | {"buckets.step": 16, "augment.flip": 0.5, "cache.latents": "disk", "measure.every_steps": 5,
                      "length.steps": 10, "concepts.0.folder": str(held_out), "concepts.0.kind": "validation"}
    asked = {"name": word, "dataset.folder": str(images), "dataset.resolution": "64", **options}
    status, answer = webui.ask("/pivotal/v1/plan", {"options": asked})
    assert status == 200, answer
    buckets = answer["plan"]["buckets"]
    assert len(buckets) > 1
    assert sum(bucket["images"] for bucket in buckets) == 6
    plain = webui.draw("a circle")
    webui.train(images, word, **options)
    job = webui.job()
    assert job["held_out"]
    assert [step for step, _ in job["measured"]] == [0, 5, 10]
    assert any("encoded images take" in line for line in job["log"])
    assert differ(webui.draw(f"a circle<lora:{word}:1>"), plain)
    assert alike(webui.draw("an unrelated cat"), unrelated)


def test_a_word_that_became_shorter_takes_nothing_of_the_longer_one(webui, images, unrelated, word):
    long, short = f"{word}long", f"{word}short"
    webui.train(images, long, **embedding(long, 3))
    webui.train(images, long, **embedding(long, 1))
    webui.train(images, short, **embedding(short, 1))
    assert webui.draw(f"a {long} circle") == webui.draw(f"a {short} circle")
    assert webui.draw("an unrelated cat") == unrelated


def test_a_lora_works_right_after_its_run_and_is_never_stale(webui, images, word):
    prompt, plain = f"a circle<lora:{word}:1>", webui.draw("a circle")
    webui.train(images, word, **LORA)
    first = webui.draw(prompt)
    assert differ(first, plain)
    assert alike(webui.draw("a circle"), plain)
    webui.draw(prompt)  # the host has it in its weights when it is written anew
    webui.train(images, word, **LORA, seed=99)
    assert webui.draw(prompt) not in (first, plain)
    webui.train(images, word, **LORA)
    assert webui.draw(prompt) == first
    assert alike(webui.draw("a circle"), plain)


def test_what_a_prompts_lora_leaves_in_the_weights_is_not_trained_on(webui, images, word):
    webui.train(images, word, **embedding(word))  # clears away what prompts of other tests have left
    prompts = (f"a {word} circle", "an unrelated cat")
    clean = [webui.draw(prompt) for prompt in prompts]
    webui.train(images, f"{word}net", **LORA)
    webui.draw(f"a circle<lora:{word}net:1>")
    webui.draw(f"a circle<lora:{word}net:0.5>")
    webui.train(images, word, **embedding(word))
    assert [webui.draw(prompt) for prompt in prompts] == clean


@pytest.mark.parametrize("method", ["loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full"])
def test_every_method_is_read_or_the_run_says_that_it_is_not(webui, images, method, word):
    unread = webui.about()["networks"]["unread"]
    rates = dict.fromkeys(("targets.learning_rate", "targets.text_encoder_1_rate"), 0.5) if method == "ia3" else {}
    webui.train(images, f"{word}{method}", **LORA | {"network.method": method} | rates)  # the others have matrices to grow
    log = "\n".join(webui.job()["log"])
    assert (unread.get(method, "that nobody said") in log) == (method in unread)
    plain = webui.draw("a circle")  # after the run, which begins by clearing away what prompts before have left
    if method not in unread:
        assert differ(webui.draw(f"a circle<lora:{word}{method}:1>"), plain)


def test_one_file_brings_the_network_and_the_word(webui, images, word):
    prompt = f"a {word} circle"
    plain = webui.draw(prompt)
    files = webui.train(images, f"{word}net", **LORA, **embedding(word))
    assert [file.name for file in files if file.suffix == ".safetensors"] == [f"{word}net.safetensors"]
    whole, unnamed = webui.draw(f"{prompt}<lora:{word}net:1>"), webui.draw(f"a circle<lora:{word}net:1>")
    assert len({plain, whole, unnamed}) == 3
    if not webui.about()["networks"]["bundles_stay"]:
        assert alike(webui.draw(prompt), plain)
    webui.train(images, f"{word}net", **LORA, **embedding(word), seed=99)
    assert webui.draw(f"{prompt}<lora:{word}net:1>") not in (plain, whole)


def test_the_tag_of_older_prompts_brings_network_and_word_too(inside, images, word):
    if "lyco" not in inside.probe("registered")["tags"]:
        pytest.skip("it knows no <lyco:name:1>")
    inside.train(images, f"{word}net", **LORA, **embedding(word))
    plain, whole = inside.draw(f"a {word} circle"), inside.draw(f"a {word} circle<lora:{word}net:1>")
    assert whole != plain
    assert inside.draw(f"a {word} circle<lyco:{word}net:1>") == whole
    assert alike(inside.draw(f"a {word} circle"), plain)


@pytest.mark.parametrize("what", ["embedding", "both"])
def test_the_last_sample_shows_what_the_prompt_will_draw(webui, images, what, record_property, word):
    """Sampler, schedule, guidance, noise, words and network: ours beside the host's own. SD.Next leaves out what a LoRA does to
    the text encoder, so it is not trained. Emphasis is only told of, as SD.Next has five ways to read it."""
    options = embedding(word) | ({} if what == "embedding" else LORA | {"targets.text_encoder_1": False})
    prompts = [f"a {word} circle, on white", f"a {word} (circle:1.3), on white"]
    webui.train(images, f"{word}{what}", **options, **{"samples.every_steps": 2, "samples.steps": 12, "samples.cfg_scale": 3,
                                                       "samples.seed": 7, "samples.prompts": "\n".join(prompts)})
    tag = "" if what == "embedding" else f"<lora:{word}{what}:1>"
    settings = {"steps": 12, "cfg_scale": 3, "sampler_name": "Euler"}
    found = {}
    for number, prompt in enumerate(prompts, 1):
        (path,) = Path(webui.about()["folders"]["scratch"]).rglob(f"{word}{what}/**/step-000002-{number}.png")
        with Image.open(path) as image:
            sample = image.convert("RGB").tobytes()
        found[prompt] = apart(sample, webui.draw(prompt + tag, **settings))
    other = apart(sample, webui.draw(prompt + tag, **settings, seed=8))
    record_property("levels", (*found.values(), other))
    assert found[prompts[0]] < 1 < other


def test_samples_through_the_hosts_own_samplers_are_what_the_prompt_draws_or_are_refused(webui, images, unrelated,
                                                                                         record_property, word):
    """Its noise, its schedule and its own settings; what is left is the rounding of one computation against another."""
    options = embedding(word) | LORA | {
        "samples.every_steps": 2, "samples.steps": 8, "samples.cfg_scale": 3, "samples.seed": 7, "save.precision": "fp32",
        "samples.prompts": f"a {word} circle\na {word} (circle:1.3) --ss euler_a",
        "samples.through": "the host", "samples.host_sampler": "DPM++ SDE Karras"}
    status, answer = webui.start(images, word, **options)
    if status != 200:
        assert answer["problems"].keys() == {"samples.through"} and "Take ours" in answer["problems"]["samples.through"]
        return
    assert webui.finished()["state"] == "finished", webui.job()
    prompts = {1: (f"a {word} circle", "DPM++ SDE", "Karras"), 2: (f"a {word} (circle:1.3)", "Euler a", "Automatic")}
    found = []
    for number, (prompt, sampler, schedule) in prompts.items():
        (path,) = Path(webui.about()["folders"]["scratch"]).rglob(f"{word}/**/step-000002-{number}.png")
        with Image.open(path) as image:
            sample = image.convert("RGB").tobytes()
        settings = {"steps": 8, "cfg_scale": 3, "sampler_name": sampler, "scheduler": schedule}
        found += [apart(sample, webui.draw(f"{prompt}<lora:{word}:1>", **settings, seed=seed)) for seed in (7, 8)]
    record_property("levels", found)
    assert max(found[::2]) < 0.05 and min(found[1::2]) > 1, found
    assert webui.draw("an unrelated cat") == unrelated


def test_the_card_puts_tag_and_word_into_the_prompt(webui, images, word):
    if webui.ask("/sd_extra_networks/get-single-card?page=lora&tabname=txt2img&name=none")[0] == 404:
        pytest.skip("it hands out no single card")
    webui.train(images, f"{word}net", **LORA, **embedding(word),
                **{"samples.every_steps": 2, "samples.steps": 2, "samples.prompts": f"a {word}"})
    _, networks = webui.ask("/sdapi/v1/loras")
    (listed,) = [network for network in networks if network["name"] == f"{word}net"]
    assert listed["alias"] == f"{word}net"
    status, card = webui.ask(f"/sd_extra_networks/get-single-card?page=lora&tabname=txt2img&name={word}net")
    assert status == 200
    assert f"<lora:{word}net:" in html.unescape(html.unescape(card["html"]))
    assert word in card["html"]
    # The host looks for pictures when its Refresh button draws all cards anew; this is where it looks.
    assert Path(listed["path"]).with_suffix(".preview.png").is_file()


def test_a_missing_folder_is_told_under_its_option(webui, word):
    status, answer = webui.start("/nowhere/at/all", word, **embedding(word))
    assert status == 422
    assert "does not exist" in answer["problems"]["dataset.folder"]


def test_tokens_are_counted_as_recorded(webui):
    if list(webui.ask("/pivotal/v1/tokens", {"text": ""})[1]["encoders"]) != ["clip_l"]:
        pytest.skip("recorded with SD 1; open_clip's tokenizer, of SD 2 and SDXL, mends &amp; and <|endoftext|> otherwise")
    cases = json.loads(STRINGS.read_text("utf-8"))
    assert len(cases) >= 220
    for case in cases:
        _, answer = webui.ask("/pivotal/v1/tokens", {"text": case["text"], "embeddings": VECTORS})
        assert (answer["count"], answer["limit"]) == (case["count"], case["limit"]), case["text"]

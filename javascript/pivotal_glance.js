// Under the dataset's folder: how many images it holds, and the first of them with their captions, as soon as it is typed.
(function () {
    "use strict";

    const TYPED_MS = 500;
    const KEPT_MS = 15000; // then the folder is looked at again, for images may have come
    let shown = "";
    let at = 0;
    let timer = null;

    function place() {
        const box = document.getElementById("pivotal_dataset_folder_box");
        if (!box) return null;
        let panel = box.querySelector(":scope > .pivotal-glance");
        if (!panel) {
            panel = document.createElement("div");
            panel.className = "pivotal-glance";
            panel.setAttribute("aria-live", "polite");
            box.appendChild(panel);
            shown = "";
        }
        return panel;
    }

    function image(one) {
        const figure = document.createElement("img");
        figure.loading = "lazy";
        figure.src = one.address;
        figure.alt = one.caption || one.name;
        figure.title = one.caption ? `${one.name}\n${one.caption}` : `${one.name}\nno caption file`;
        figure.classList.toggle("pivotal-uncaptioned", !one.caption);
        figure.addEventListener("error", () => figure.classList.add("pivotal-broken"), { once: true });
        return figure;
    }

    function draw(panel, answer) {
        if (!answer.count) {
            panel.replaceChildren();
            return;
        }
        const line = document.createElement("div");
        line.className = "pivotal-note";
        const more = answer.count > answer.shown.length ? `, the first ${answer.shown.length} of them here` : "";
        const without = answer.shown.length - answer.captions;
        line.textContent = `${answer.count} image${answer.count === 1 ? "" : "s"}${more}`
            + (without ? `; ${without} of these ${without === 1 ? "has" : "have"} no caption file` : "");
        const grid = document.createElement("div");
        grid.className = "pivotal-glance-grid";
        grid.append(...answer.shown.map(image));
        panel.replaceChildren(line, grid);
    }

    async function look(wanted) {
        try {
            const reply = await fetch("pivotal/v1/glance", {
                method: "POST", headers: { "Content-Type": "application/json" }, body: wanted,
            });
            const panel = place();
            if (reply.ok && panel && wanted === shown) draw(panel, await reply.json());
        } catch (error) {
            shown = ""; // no answer; the next change of a value asks again
        }
    }

    document.addEventListener("pivotal-values", (event) => {
        const found = event.detail;
        const wanted = JSON.stringify({
            folder: found["dataset.folder"] || "", subfolders: Boolean(found["dataset.subfolders"]),
            extension: found["dataset.caption_extension"] || ".txt",
        });
        if (!place() || (wanted === shown && Date.now() - at < KEPT_MS)) return;
        const isNew = wanted !== shown;
        [shown, at] = [wanted, Date.now()];
        clearTimeout(timer);
        timer = setTimeout(() => look(wanted), isNew ? TYPED_MS : 0);
    });
})();

// The Dataset page: captions are saved as a field is left; posts say which folder and which of its images are meant.
(function () {
    "use strict";

    const API = "pivotal/v1/dataset/";

    function slotOf(element) {
        return element.closest && element.closest("#pivotal_dataset [data-pivotal-source]");
    }

    function query(slot) {
        return JSON.parse(slot.dataset.pivotalQuery || "{}");
    }

    function folder(slot) {
        const form = slot.querySelector("[data-pivotal-folder]");
        return query(slot).folder || (form && form.dataset.pivotalFolder) || "";
    }

    function show(slot, changes) {
        slot.dataset.pivotalQuery = JSON.stringify({ ...query(slot), ...changes });
        delete slot.dataset.pivotalVersion;
    }

    // The answer's text, or what to say in its place.
    async function post(path, body) {
        try {
            const reply = await fetch(API + path, {
                method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
            });
            const answer = await reply.json();
            if (reply.ok) return { ok: true, ...answer };
            return { ok: false, text: [...Object.values(answer.problems || {})].join(" ") || answer.error };
        } catch (error) {
            return { ok: false, text: "No answer from the server; nothing was saved." };
        }
    }

    function tell(field, text) {
        let line = field.parentElement.querySelector(":scope > .pivotal-told");
        if (!line) {
            line = document.createElement("div");
            line.className = "pivotal-told pivotal-error";
            line.setAttribute("role", "status");
            field.after(line);
        }
        line.textContent = text;
    }

    async function save(field, slot) {
        const text = field.value;
        const answer = await post("caption", {
            folder: folder(slot), name: field.dataset.pivotalCaption, text, old: field.defaultValue,
        });
        field.classList.toggle("pivotal-saved", answer.ok);
        tell(field, answer.ok ? "" : answer.text);
        if (answer.ok) field.defaultValue = text;
        document.dispatchEvent(new Event("pivotal-poll"));
    }

    // A field that has no effect with what is chosen beside it is not shown.
    function showFields(form) {
        for (const field of form.querySelectorAll("[data-pivotal-when]")) {
            const [name, values] = field.dataset.pivotalWhen.split("=");
            const other = form.querySelector(`[name="${name}"]`);
            if (!other) continue;
            const value = other.type === "checkbox" ? String(other.checked) : other.value.toLowerCase();
            const isShown = values.split("|").includes(value) && !other.closest("[data-pivotal-when][hidden]");
            field.hidden = !isShown;
        }
    }

    function fromForm(slot) {
        const field = document.querySelector("#pivotal_dataset_folder textarea, #pivotal_dataset_folder input");
        const own = slot.querySelector("input[name=folder]");
        if (field && own) own.value = field.value;
        const open = slot.querySelector("[data-pivotal-post='dataset/open']");
        if (open) open.click();
    }

    // Before pivotal_actions.js and pivotal_progress.js read them: hence in the capturing phase.
    document.addEventListener("click", (event) => {
        const slot = slotOf(event.target);
        if (!slot) return;
        if (event.target.closest("[data-pivotal-from-form]")) fromForm(slot);
        const asking = event.target.closest("button[data-pivotal-ask]");
        if (asking && asking.dataset.pivotalAsk !== "page") show(slot, { page: "" });
        const posting = event.target.closest("[data-pivotal-post]");
        if (posting && posting.dataset.pivotalPost !== "dataset/open") {
            posting.dataset.pivotalBody = JSON.stringify({
                ...JSON.parse(posting.dataset.pivotalBody || "{}"), ...query(slot), folder: folder(slot),
            });
        }
    }, true);
    document.addEventListener("input", (event) => {
        const slot = event.target.dataset && event.target.dataset.pivotalAsk && slotOf(event.target);
        if (slot) show(slot, { page: "" });
    }, true);
    document.addEventListener("change", (event) => {
        const slot = slotOf(event.target);
        if (!slot) return;
        if (event.target.dataset.pivotalCaption !== undefined) save(event.target, slot);
        const form = event.target.closest("[data-pivotal-form]");
        if (form) showFields(form);
    });
    document.addEventListener("toggle", (event) => {
        if (slotOf(event.target)) event.target.querySelectorAll("[data-pivotal-form]").forEach(showFields);
    }, true);
    document.addEventListener("keydown", (event) => {
        const slot = slotOf(event.target);
        if (slot && event.key === "Enter" && event.target.name === "folder") {
            event.preventDefault();
            slot.querySelector("[data-pivotal-post='dataset/open']").click();
        }
    });
    document.addEventListener("pivotal-posted", (event) => {
        const slot = slotOf(event.target);
        if (slot && event.detail.ok && event.target.dataset.pivotalPost === "dataset/open") {
            show(slot, { folder: event.detail.answer.folder, page: "", tag: "", filter: "", search: "" });
        }
    });
    window.pivotalDataset = { post };
})();

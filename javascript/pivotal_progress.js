// Keeps every .pivotal-slot filled with the fragment that its data-pivotal-source serves: a run's progress.
// The server renders and words everything; only parts that changed are replaced, so that images do not flicker.
(function () {
    "use strict";

    const SHOWN_MS = 1000;
    // AUTOMATIC1111 1.10.1 with --api ends itself when its new page ("Reload UI") is asked before it is ready: ask seldom then.
    const LOST_MS = 5000;
    const HIDDEN_TICKS = 5;
    let tick = 0;

    function isShown(slot) {
        return document.visibilityState === "visible" && slot.offsetParent !== null;
    }

    function replaceParts(slot, html) {
        const fresh = document.createElement("template");
        fresh.innerHTML = html;
        const wanted = Array.from(fresh.content.children);
        const names = new Set(wanted.map((part) => part.dataset.part));
        for (const old of Array.from(slot.children)) {
            if (!names.has(old.dataset.part)) old.remove();
        }
        wanted.forEach((part, index) => {
            const old = slot.children[index];
            if (old && old.pivotalSource === part.outerHTML) return;
            part.pivotalSource = part.outerHTML;
            if (old) old.replaceWith(part);
            else slot.appendChild(part);
            part.querySelectorAll(".pivotal-log").forEach((log) => { log.scrollTop = log.scrollHeight; });
        });
    }

    function show(slot, answer) {
        if (answer.html !== undefined) {
            replaceParts(slot, answer.html);
            slot.dataset.pivotalVersion = answer.version;
        }
        slot.dataset.pivotalRun = answer.run;
        slot.dataset.pivotalProblems = JSON.stringify(answer.problems || {});
        slot.classList.remove("pivotal-lost");
        const page = document.getElementById("pivotal_page");
        if (page) page.dataset.pivotalState = answer.state;
    }

    async function refresh(slot) {
        if (slot.pivotalBusy || Date.now() < (slot.pivotalPause || 0)) return;
        slot.pivotalBusy = true;
        try {
            // An emptied slot (the page was drawn anew) has no version to be told apart from.
            const version = slot.children.length ? slot.dataset.pivotalVersion || "" : "";
            const address = `${slot.dataset.pivotalSource}?version=${encodeURIComponent(version)}`;
            const reply = await fetch(address, { cache: "no-store" });
            if (!reply.ok) throw new Error(`${reply.status}`);
            show(slot, await reply.json());
        } catch (error) {
            slot.classList.add("pivotal-lost");
            slot.pivotalPause = Date.now() + LOST_MS;
        } finally {
            slot.pivotalBusy = false;
        }
    }

    function poll() {
        tick += 1;
        for (const slot of document.querySelectorAll("[data-pivotal-source]")) {
            if (!slot.children.length || isShown(slot) || tick % HIDDEN_TICKS === 0) refresh(slot);
        }
    }

    setInterval(poll, SHOWN_MS);
    // A press of a button of ours shows its effect without waiting for the next second.
    document.addEventListener("click", (event) => {
        if (event.target.closest && event.target.closest(".pivotal-action")) setTimeout(poll, 300);
    });
})();

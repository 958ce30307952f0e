// Keeps every .pivotal-slot filled with the fragment that its data-pivotal-source serves: a run's progress, the queue.
// The server renders and words everything; only parts that changed are replaced, so that images do not flicker.
// What a slot asks for (a filter, a page) is its data-pivotal-query: fields and buttons in it with data-pivotal-ask set it.
(function () {
    "use strict";

    const SHOWN_MS = 1000;
    // AUTOMATIC1111 1.10.1 with --api ends itself when its new page ("Reload UI") is asked before it is ready: ask seldom then.
    const LOST_MS = 5000;
    const TYPED_MS = 200;
    const HIDDEN_TICKS = 5;
    let tick = 0;

    function isShown(slot) {
        return document.visibilityState === "visible" && slot.offsetParent !== null;
    }

    // Somebody is typing in it: what stands there is newer than what the server knows.
    function isHeld(part) {
        const active = document.activeElement;
        return Boolean(active && part.contains(active) && active.matches("input:not([type=checkbox]), textarea, select"));
    }

    // What somebody has unfolded or folded stays so.
    function keepFolds(old, part) {
        for (const fold of old.querySelectorAll("details[data-fold]")) {
            const again = part.querySelector(`details[data-fold="${CSS.escape(fold.dataset.fold)}"]`);
            if (again) again.open = fold.open;
        }
    }

    function replaceOne(old, part) {
        keepFolds(old, part);
        old.replaceWith(part);
    }

    function replaceParts(slot, html) {
        const fresh = document.createElement("template");
        fresh.innerHTML = html;
        const wanted = Array.from(fresh.content.children);
        const names = new Set(wanted.map((part) => part.dataset.part));
        const giveFocusBack = window.pivotalFocus.within(slot);
        for (const old of Array.from(slot.children)) {
            if (!names.has(old.dataset.part)) old.remove();
        }
        wanted.forEach((part, index) => {
            const old = slot.children[index];
            if (old && (old.pivotalSource === part.outerHTML || isHeld(old))) return;
            part.pivotalSource = part.outerHTML;
            if (old) replaceOne(old, part);
            else slot.appendChild(part);
            part.querySelectorAll(".pivotal-log").forEach((log) => { log.scrollTop = log.scrollHeight; });
        });
        giveFocusBack();
        slot.dispatchEvent(new Event("pivotal-shown", { bubbles: true }));
    }

    function show(slot, answer) {
        if (answer.html !== undefined) {
            replaceParts(slot, answer.html);
            slot.dataset.pivotalVersion = answer.version;
        }
        slot.classList.remove("pivotal-lost");
        if (answer.run === undefined) return; // not the run's own
        slot.dataset.pivotalRun = answer.run;
        slot.dataset.pivotalProblems = JSON.stringify(answer.problems || {});
        const page = document.getElementById("pivotal_page");
        if (page) page.dataset.pivotalState = answer.state;
    }

    function asked(slot) {
        return JSON.parse(slot.dataset.pivotalQuery || "{}");
    }

    async function refresh(slot) {
        if (slot.pivotalBusy || Date.now() < (slot.pivotalPause || 0)) return;
        slot.pivotalBusy = true;
        const query = slot.dataset.pivotalQuery;
        try {
            // An emptied slot (the page was drawn anew) has no version to be told apart from.
            const version = slot.children.length ? slot.dataset.pivotalVersion || "" : "";
            const address = `${slot.dataset.pivotalSource}?${new URLSearchParams({ ...asked(slot), version })}`;
            const reply = await fetch(address, { cache: "no-store" });
            if (!reply.ok) throw new Error(`${reply.status}`);
            const answer = await reply.json();
            if (query === slot.dataset.pivotalQuery) show(slot, answer);
        } catch (error) {
            slot.classList.add("pivotal-lost");
            slot.pivotalPause = Date.now() + LOST_MS;
        } finally {
            slot.pivotalBusy = false;
        }
        if (query !== slot.dataset.pivotalQuery) refresh(slot); // asked for something else meanwhile
    }

    // Of what is not shown, only the run is asked for, and seldom: the host's own progress bar shows it, too.
    function poll() {
        tick += 1;
        for (const slot of document.querySelectorAll("[data-pivotal-source]")) {
            const isRun = slot.dataset.pivotalSource.endsWith("panel/job");
            if (isShown(slot) || (isRun && (!slot.children.length || tick % HIDDEN_TICKS === 0))) refresh(slot);
        }
    }

    // What comes to the front is fresh sooner than at the next second.
    function pollNew() {
        for (const slot of document.querySelectorAll("[data-pivotal-source]")) {
            const wasShown = slot.pivotalWasShown;
            slot.pivotalWasShown = isShown(slot);
            if (slot.pivotalWasShown && !wasShown) refresh(slot);
        }
    }

    function ask(element) {
        const slot = element.closest("[data-pivotal-source]");
        if (!slot) return;
        const value = element.type === "checkbox" ? (element.checked ? "1" : "") : element.value;
        slot.dataset.pivotalQuery = JSON.stringify({ ...asked(slot), ...{ [element.dataset.pivotalAsk]: value } });
        delete slot.dataset.pivotalVersion;
        clearTimeout(slot.pivotalTyped);
        slot.pivotalTyped = setTimeout(() => refresh(slot), element.tagName === "BUTTON" ? 0 : TYPED_MS);
    }

    setInterval(poll, SHOWN_MS);
    document.addEventListener("pivotal-poll", poll);
    document.addEventListener("pivotal-tick", pollNew);
    document.addEventListener("input", (event) => { if (event.target.dataset && event.target.dataset.pivotalAsk) ask(event.target); });
    document.addEventListener("click", (event) => {
        if (!event.target.closest) return;
        const asking = event.target.closest("button[data-pivotal-ask]");
        if (asking) ask(asking);
        // A press of a button of ours shows its effect without waiting for the next second.
        if (event.target.closest(".pivotal-action")) setTimeout(poll, 300);
    });
})();

// The host's own progress bar over the gallery of txt2img, and its percents in the window's title, while a run goes on: the
// host's requestProgress asks its own address for the task that hosts/a1111_queue.py has begun, and takes the bar away with it.
(function () {
    "use strict";

    const TICK_MS = 2000;
    let isShown = false;

    // They come some time after the page; a bar that was begun without them stays hidden (opts.show_progressbar).
    function hasSettings() {
        return "live_preview_refresh_period" in (window.opts || {});
    }

    // Asked first: for a task that has not begun, or is over, the host shows an empty bar for up to 40 s.
    async function isGoingOn(task) {
        const reply = await fetch("./internal/progress", {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ id_task: task, id_live_preview: -1 }),
        });
        return reply.ok && Boolean((await reply.json()).active);
    }

    async function begin() {
        const marker = document.querySelector("[data-pivotal-task]");
        const page = document.getElementById("pivotal_page");
        const place = document.getElementById("txt2img_gallery_container");
        if (isShown || !marker || !page || page.dataset.pivotalState !== "running" || !place) return;
        if (typeof window.requestProgress !== "function" || !hasSettings()) return;
        isShown = true;
        try {
            isShown = await isGoingOn(marker.dataset.pivotalTask);
        } catch (error) {
            isShown = false; // no answer: asked again at the next tick
        }
        if (isShown) window.requestProgress(marker.dataset.pivotalTask, place, null, () => { isShown = false; });
    }

    setInterval(begin, TICK_MS);
})();

// The clock of the scripts that look after the form: the events pivotal-tick, and pivotal-slow-tick at every second one, while the
// tab is in front, and nothing while it is not. They need one, as gradio writes into its boxes and draws its sections anew
// without an event.
(function () {
    "use strict";

    const TICK_MS = 350;
    let count = 0;

    setInterval(() => {
        const pages = document.getElementById("pivotal_pages");
        if (!pages || pages.offsetParent === null || document.visibilityState !== "visible") return;
        count += 1;
        document.dispatchEvent(new Event("pivotal-tick"));
        if (count % 2 === 0) document.dispatchEvent(new Event("pivotal-slow-tick"));
    }, TICK_MS);
})();

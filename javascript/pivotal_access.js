// Where the host asks for a password, the page's key goes as a cookie with each of its requests, those of images too.
(function () {
    "use strict";

    const TICK_MS = 300;

    const timer = setInterval(() => {
        const field = document.querySelector("[data-pivotal-access]");
        if (!field && !document.getElementById("pivotal_pages")) return;
        clearInterval(timer);
        if (!field) return; // the tab is there, and no password
        document.cookie = `${field.dataset.pivotalAccess}; path=/; SameSite=Strict`;
        document.dispatchEvent(new Event("pivotal-poll"));
    }, TICK_MS);
})();

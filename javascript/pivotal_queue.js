// The Queue page's buttons that fill the form in: data-pivotal-fill says, as JSON, with which run. The server does it
// (javascript/pivotal_set.js).
(function () {
    "use strict";

    document.addEventListener("click", (event) => {
        if (!event.target.closest) return;
        const filling = event.target.closest("[data-pivotal-fill]");
        if (filling && window.pivotalAsk("pivotal_queue_entry", filling.dataset.pivotalFill, "pivotal_queue_load")) {
            window.pivotalShowPage("run");
        }
        const leaving = event.target.closest("[data-pivotal-leave]");
        if (leaving && window.pivotalAsk("pivotal_queue_entry", "")) leaving.closest(".pivotal-editing").remove();
    });
})();

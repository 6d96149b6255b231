// Runs after nhsuk-frontend in one file; the policy of pages allows no script inside of them.
document.body.classList.add("js-enabled", "nhsuk-frontend-supported");
initAll();

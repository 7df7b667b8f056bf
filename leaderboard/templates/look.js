"use strict";
// Light or dark as the system says, until the reader chooses.
(() => {
  const root = document.documentElement;
  const remembered = () => { try { return localStorage.getItem("look"); } catch { return null; } };
  if (["light", "dark"].includes(remembered())) root.dataset.look = remembered();
  document.getElementById("look").addEventListener("click", () => {
    const dark = root.dataset.look ? root.dataset.look === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.look = dark ? "light" : "dark";
    try { localStorage.setItem("look", root.dataset.look); } catch { /* kept for this page alone */ }
  });
})();

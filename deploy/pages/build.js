// Builds what every page loads, from the packages in package-lock.json, into hosting/built.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile } from "sass";

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, "..", "..", "hosting", "built");
const read = (...path) => readFileSync(join(here, ...path), "utf8");
const packaged = (...path) => read("node_modules", ...path);
const versions = JSON.parse(read("package.json")).dependencies;

// A browser would ask for the map of a script, and it is not served.
const withoutMap = (script) => script.replace(/\/\/# sourceMappingURL=.*\s*$/, "\n");

const notice = `/*! nhsuk-frontend ${versions["nhsuk-frontend"]}, MIT licence, NHS England */\n`;
const styles = compile(join(here, "pages.scss"), {
  charset: false,
  loadPaths: [join(here, "node_modules")],
  quietDeps: true,
  style: "compressed",
}).css;
// A font or picture of another host would tell that host who looks at a page.
const pictures = [...styles.matchAll(/url\(([^)]*)\)/g)].map(([, named]) => named.replace(/"/g, ""));
if (styles.includes("@import") || !pictures.every((name) => /^nhsuk-icon-[a-z-]+\.svg$/.test(name))) {
  throw new Error("The styles load something from elsewhere.");
}

const files = {
  "pages.css": notice + styles,
  // One module rather than an import: the address of each file names its content.
  "pages.js":
    notice +
    withoutMap(packaged("nhsuk-frontend", "dist", "nhsuk", "nhsuk-frontend.min.js")) +
    read("pages.js"),
  "htmx.js": withoutMap(packaged("htmx.org", "dist", "htmx.min.js")),
  "icon.svg": read("icon.svg"),
};
for (const name of pictures) {
  files[name] = packaged("nhsuk-frontend", "dist", "nhsuk", "assets", "images", name);
}

rmSync(built, { recursive: true, force: true });
mkdirSync(built, { recursive: true });
for (const [name, content] of Object.entries(files)) {
  writeFileSync(join(built, name), content);
}

// The language of the page: that of the browser, or the one that was chosen.

const stored = localStorage.getItem("language");
export const language = stored ?? (navigator.language.startsWith("ko") ? "ko" : "en");
document.documentElement.lang = language;

/** A function that gives a text in the language of the page; the English words are the keys. */
export const translator = (korean) => (text) => (language === "ko" ? (korean[text] ?? text) : text);

export function switchLanguage() {
  localStorage.setItem("language", language === "ko" ? "en" : "ko");
  location.reload();
}

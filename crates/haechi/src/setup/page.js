"use strict";
const KOREAN = {
  title: "첫 관리자",
  lead: "이 페이지는 시작할 때 출력된 링크로, 10분 안에 한 번만 쓸 수 있습니다.",
  email: "이메일 주소",
  password: "비밀번호",
  hint: "15자 이상. 서로 이어지지 않는 낱말 몇 개가 좋은 비밀번호가 됩니다.",
  create: "만들기",
  done: "관리자를 만들었습니다. 이제 로그인할 수 있습니다.",
  nocode: "링크에 코드가 없습니다. 출력된 링크를 그대로 여세요.",
  failed: "할 수 없었습니다. 잠시 뒤에 다시 해 보세요.",
};
const ENGLISH = {
  done: "The administrator is there. You can sign in now.",
  nocode: "The link has no code. Open it as it was printed.",
  failed: "That did not work. Try again in a moment.",
};
const korean = navigator.language.startsWith("ko");
const words = korean ? KOREAN : ENGLISH;
if (korean) {
  document.documentElement.lang = "ko";
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = KOREAN[element.dataset.say];
}
const code = new URLSearchParams(location.hash.slice(1)).get("k");
// The code stays out of the history.
history.replaceState(null, "", location.pathname);
const said = document.getElementById("said");
const say = (text, wrong) => {
  said.textContent = text;
  said.classList.toggle("wrong", wrong);
};
const form = document.getElementById("form");
if (!code) say(words.nocode, true);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!code) return;
  const body = { code, email: document.getElementById("email").value, password: document.getElementById("password").value };
  try {
    const reply = await fetch("/auth/v1/setup", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const json = await reply.json();
    if (reply.ok) {
      form.hidden = true;
      say(words.done, false);
    } else {
      const errors = (json.errors || []).map((error) => `${error.pointer.slice(1)} ${error.detail}`);
      say(errors.length ? errors.join("; ") : `${json.title}. ${json.detail}`, true);
    }
  } catch {
    say(words.failed, true);
  }
});

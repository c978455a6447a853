// What the page says, in English and Korean. The English words are the keys.

const KOREAN = {
  "Team": "팀",
  "Sign in": "로그인",
  "Sign up": "가입",
  "Sign out": "로그아웃",
  "Address": "이메일",
  "Password": "비밀번호",
  "Name": "이름",
  "At least 15 characters, for example a few words.": "15자 이상. 낱말 몇 개를 이어 쓰면 좋습니다.",
  "No account yet?": "계정이 없으신가요?",
  "Already here?": "이미 가입하셨나요?",
  "Projects": "프로젝트",
  "New project": "새 프로젝트",
  "Create": "만들기",
  "Your first project": "첫 프로젝트",
  "A project holds tasks and the people who work on them.": "프로젝트에는 할 일과 함께 일할 사람이 있습니다.",
  "People": "사람",
  "Lead": "책임자",
  "member": "구성원",
  "guest": "손님",
  "Add": "추가",
  "Remove": "빼기",
  "Leave": "나가기",
  "Person": "사람",
  "Role": "역할",
  "Close": "닫기",
  "Members write tasks, guests only comment.": "구성원은 할 일을 쓰고, 손님은 댓글만 씁니다.",
  "Tasks": "할 일",
  "New task": "새 할 일",
  "Title": "제목",
  "State": "상태",
  "Priority": "중요도",
  "Assignee": "담당",
  "Due": "기한",
  "Starts": "시작",
  "Nobody": "없음",
  "All": "전체",
  "Mine": "내 것",
  "Search in titles": "제목 찾기",
  "Order": "순서",
  "Newest first": "최근 것부터",
  "Due first": "기한 빠른 것부터",
  "Most important first": "중요한 것부터",
  "todo": "할 일",
  "doing": "진행 중",
  "done": "끝",
  "low": "낮음",
  "normal": "보통",
  "high": "높음",
  "Next page": "다음 쪽",
  "Page before": "이전 쪽",
  "No tasks here.": "할 일이 없습니다.",
  "tasks": "건",
  "Save": "저장",
  "Cancel": "취소",
  "Delete": "지우기",
  "Delete this task?": "이 할 일을 지울까요?",
  "Comments": "댓글",
  "Write a comment": "댓글 쓰기",
  "Send": "보내기",
  "Saved.": "저장했습니다.",
  "Somebody has changed this task meanwhile": "그동안 다른 사람이 이 할 일을 바꾸었습니다",
  "Their changes to other fields are taken over.": "다른 칸에서 바뀐 것은 그대로 받아들였습니다.",
  "Where both changed the same, choose, then save again.": "같은 칸을 둘 다 바꾸었으면 하나를 고르고 다시 저장하십시오.",
  "Theirs": "다른 사람",
  "Yours": "나",
  "Live": "실시간",
  "Connecting": "연결 중",
  "You may look at this task, and not change it.": "이 할 일은 보기만 할 수 있습니다.",
  "Try again": "다시 시도",
  "It is gone.": "없어졌습니다.",
  "Your session has ended. Sign in again.": "세션이 끝났습니다. 다시 로그인하십시오.",
};

const stored = localStorage.getItem("language");
export const language = stored ?? (navigator.language.startsWith("ko") ? "ko" : "en");
document.documentElement.lang = language;

/** A text in the language of the page. */
export const t = (text) => (language === "ko" ? (KOREAN[text] ?? text) : text);

export function switchLanguage() {
  localStorage.setItem("language", language === "ko" ? "en" : "ko");
  location.reload();
}

const days = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });
const times = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "short" });
export const day = (text) => (text ? days.format(new Date(`${text}T00:00:00Z`)) : "");
export const time = (text) => times.format(new Date(text));

// What the page says, in English and Korean. The English words are the keys.

import { language, translator } from "./language.js";

const KOREAN = {
  "Shop": "가게",
  "Sign in": "로그인",
  "Sign up": "가입",
  "Sign out": "로그아웃",
  "Address": "이메일",
  "Password": "비밀번호",
  "Name": "이름",
  "At least 15 characters, for example a few words.": "15자 이상. 낱말 몇 개를 이어 쓰면 좋습니다.",
  "No account yet?": "계정이 없으신가요?",
  "Already here?": "이미 가입하셨나요?",
  "Catalogue": "상품",
  "Cart": "장바구니",
  "Orders": "주문",
  "Search": "찾기",
  "Order": "순서",
  "By name": "이름순",
  "Cheapest first": "싼 것부터",
  "Dearest first": "비싼 것부터",
  "Add to cart": "담기",
  "In your cart.": "담았습니다.",
  "Nothing was found.": "찾은 것이 없습니다.",
  "Next page": "다음 쪽",
  "Page before": "이전 쪽",
  "Your cart is empty.": "장바구니가 비어 있습니다.",
  "Amount": "수량",
  "Remove": "빼기",
  "Total": "합계",
  "Where to send it": "받을 주소",
  "Place the order": "주문하기",
  "No orders yet.": "아직 주문이 없습니다.",
  "Cancel the order": "주문 취소",
  "placed": "주문함",
  "paid": "결제함",
  "sent": "보냄",
  "cancelled": "취소함",
  "Mark as paid": "결제 확인",
  "Mark as sent": "발송 확인",
  "Live": "실시간",
  "Try again": "다시 시도",
  "Your session has ended. Sign in again.": "세션이 끝났습니다. 다시 로그인하십시오.",
};

/** A text in the language of the page. */
export const t = translator(KOREAN);

const money = new Intl.NumberFormat(language, { style: "currency", currency: "EUR" });
const times = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
/** Prices come as texts, exact to the cent; sums are made of whole cents. */
export const cents = (price) => Math.round(Number(price) * 100);
export const price = (ofCents) => money.format(ofCents / 100);
export const time = (text) => times.format(new Date(text));

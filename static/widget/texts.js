// What the widget says, in English; the site's own texts come over these.
export default {
  placeholder: "Write a message …", send: "Send", close: "Close chat", newChat: "New chat",
  newChatAsk: "Start a new conversation? This one is cleared here.", newChatYes: "Start new", newChatNo: "Keep",
  messages: "Conversation", you: "You", bot: "Assistant", typing: "The assistant is writing",
  notSent: "Not sent.", unknown: "Not sure this was delivered.", retry: "Try again", sendAgain: "Send again",
  offline: "You are offline.", retrying: "Connection lost. Trying again …", unavailable: "Chat is unavailable just now.",
  expired: "This conversation has expired.", ended: "This conversation has ended.",
  tooLong: " characters too many", newMessages: "New messages",
};

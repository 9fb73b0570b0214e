// The full-page chat: opens it. Not needed any more once the widget does that by itself in mode="kiosk".
customElements.whenDefined("chat-widget").then(() => {
  const chat = document.querySelector("chat-widget");
  if (!chat.opened) chat.open();
});

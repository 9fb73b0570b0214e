// The full-page chat. In mode="kiosk" the widget opens by itself and fills its place; one that does not know it is helped.
const chat = document.querySelector("chat-widget");
const main = document.querySelector("main");
main.style.setProperty("--accent", chat.getAttribute("accent"));

customElements.whenDefined("chat-widget").then(() => {
  if ("mode" in chat) return;
  main.classList.add("panelled");
  chat.open();
});

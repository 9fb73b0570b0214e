// The basket of the example shop: a number in this tab.
const shown = document.getElementById("basket");
const count = () => Number(sessionStorage.getItem("basket") ?? 0);
shown.value = count();

for (const button of document.querySelectorAll("[data-buy]")) {
  const label = button.textContent;
  let back;
  button.addEventListener("click", () => {
    sessionStorage.setItem("basket", count() + 1);
    shown.value = count();
    button.textContent = "In your basket ✓";
    clearTimeout(back);
    back = setTimeout(() => { button.textContent = label; }, 2000);
  });
}

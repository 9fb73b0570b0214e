"""axe-core in the page under test: what breaks a rule of WCAG 2.2, levels A and AA, in words."""

from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).parent.parent / "node_modules/axe-core/axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]  # 2.2 added nothing at level A

RUN = """async ([within, levels]) => {
    // Half-way through an animation, colours are not what they will be.
    for (const one of document.querySelectorAll(within)) {
        for (const animation of (one.shadowRoot ?? document).getAnimations()) {
            if (animation.effect.getTiming().iterations !== Infinity) animation.finish();
        }
    }
    const {violations, passes} = await axe.run({include: [within]}, {
        runOnly: levels,
        rules: {"target-size": {enabled: true}},  // of WCAG 2.2, off by default
    });
    if (!passes.length) throw new Error(`nothing to look at in ${within}`);
    return violations.flatMap(({id, impact, nodes}) => nodes.map(({target, any, all, none}) => {
        const reasons = [...any, ...all, ...none].map(({message}) => message).join("; ");
        return `${id} (${impact}) at ${target.flat().join(" ")}: ${reasons}`;
    }));
}"""


def violations(page: Page, within: str = "chat-widget") -> list[str]:
    """What breaks a rule in the elements that match `within` and in their shadow roots, each with the reason."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE.read_text("utf-8"))  # by the debugger: no policy of the page is asked
    found: list[str] = page.evaluate(RUN, [within, LEVELS])
    return found

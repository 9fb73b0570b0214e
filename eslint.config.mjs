import js from "@eslint/js";

export default [
  { ignores: [".venv/", "dist/"] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-undef": "off", // tsc knows what there is in a browser
      "no-unused-vars": ["error", { args: "after-used", caughtErrors: "all" }],
      "no-unused-private-class-members": "error",
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "prefer-rest-params": "error",
      eqeqeq: ["error", "always", { null: "ignore" }],
      "array-callback-return": "error",
      "no-constructor-return": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-wrappers": "error",
      "no-script-url": "error",
      "no-self-compare": "error",
      "no-shadow": "error",
      "no-template-curly-in-string": "error",
      "no-throw-literal": "error",
      "no-unmodified-loop-condition": "error",
      "no-unneeded-ternary": "error",
      "no-unused-expressions": ["error", { allowShortCircuit: true, allowTernary: true }],
      "no-useless-concat": "error",
      "no-useless-return": "error",
      "object-shorthand": "error",
      "logical-assignment-operators": "error",
    },
  },
  {
    files: ["static/**"],
    rules: {
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "Trusted Types refuse it: build elements." },
        { property: "outerHTML", message: "Trusted Types refuse it: build elements." },
        { property: "insertAdjacentHTML", message: "Trusted Types refuse it: build elements." },
      ],
    },
  },
];

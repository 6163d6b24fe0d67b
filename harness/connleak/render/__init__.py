"""Recording + Verdict -> text, HTML, charts, Markdown, JUnit, SARIF and GitHub annotations; pure."""

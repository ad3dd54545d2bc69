"""What the rules know: languages, technologies, and what features are made of."""

from __future__ import annotations

from dataclasses import dataclass

from orch.agents.making.layout import Language

TECHNOLOGIES: dict[str, Language] = {
    **dict.fromkeys(("python", "django", "flask", "fastapi", "pytest", "asyncio"), "python"),
    **dict.fromkeys(
        ("javascript", "typescript", "react", "vue", "angular", "svelte", "jsx", "tsx"),
        "javascript",
    ),
    **dict.fromkeys(("node", "nodejs", "npm", "frontend", "browser"), "javascript"),
}
"""Words that say which language is meant."""
LIBRARIES = ("django", "flask", "fastapi", "typescript", "react", "vue", "angular", "svelte")
"""Those of them that would have to be installed: what is generated does without."""
OTHER_LANGUAGES = ("java", "kotlin", "golang", "rust", "ruby", "php", "scala", "swift", "elixir")


@dataclass(frozen=True)
class Feature:
    """Something that many projects have. `terms`: words by which it is wanted."""

    title: str
    terms: tuple[str, ...]


FEATURES = (
    Feature("Authentication", ("authentication", "login", "log in", "sign in", "oauth", "jwt")),
    Feature("User profile", ("profile", "profiles", "user accounts", "registration", "sign up")),
    Feature("Dashboard", ("dashboard", "dashboards", "overview")),
    Feature("Report", ("report", "reports", "reporting", "statistics", "analytics")),
    Feature("Chart", ("chart", "charts", "graph", "graphs", "visualization", "visualisation")),
    Feature("Search", ("search", "searching", "full text")),
    Feature("Upload", ("upload", "uploads", "import", "imports")),
    Feature("Export", ("export", "exports", "download", "downloads")),
    Feature("Notification", ("notification", "notifications", "alerts", "email", "emails")),
    Feature("Payment", ("payment", "payments", "billing", "checkout")),
    Feature("Invoice", ("invoice", "invoices")),
    Feature("Order", ("order", "orders", "cart", "shopping cart")),
    Feature("Product", ("product", "products", "catalog", "catalogue")),
    Feature("Inventory", ("inventory", "stock", "warehouse")),
    Feature("Task list", ("todo", "to do", "todos", "tasks", "task list")),
    Feature("Comment", ("comment", "comments", "discussion")),
    Feature("Chat", ("chat", "messaging", "messages")),
    Feature("Calendar", ("calendar", "appointments", "booking", "bookings")),
    Feature("Preferences", ("preferences", "user settings")),
    Feature("Customer", ("customer", "customers", "crm", "contacts")),
)

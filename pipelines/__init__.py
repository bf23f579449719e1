"""Components, the graph they form, and what runs it."""

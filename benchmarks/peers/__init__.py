"""How well defaults predict, beside what a user would pick instead; and what each default adds."""

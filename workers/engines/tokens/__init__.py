"""Between text and tokens: vocabulary, chat template, constraints."""

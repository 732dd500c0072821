"""Looking at rows before anything is trained on them: as the model will see them, and in numbers."""

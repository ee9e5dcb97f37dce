"""The caretaker: deadlines, retention."""

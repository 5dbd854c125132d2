"""An LSTM that reads source code: which unit holds an open brace."""

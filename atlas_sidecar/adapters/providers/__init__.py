"""One module for each kind of LLM provider; what they share lies in `wire`."""

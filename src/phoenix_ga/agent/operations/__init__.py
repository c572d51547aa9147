"""What the agent does, as plain functions on plain values. They know neither JSON nor dialects."""

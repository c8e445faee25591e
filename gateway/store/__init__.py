"""The only room with Redis in it: keys, scripts, the writing of changes, the reading of rows, the subscription."""

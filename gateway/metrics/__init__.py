"""What a process counts, as plain integers; how the counts of several processes become one; how they are shown."""

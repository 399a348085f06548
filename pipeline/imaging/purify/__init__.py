"""SVG files that only show something: what acts or reaches out of the file is taken out, what is seen stays."""

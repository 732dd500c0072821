"""What run directories hold, as a page, as Markdown and as pictures. Reads directories alone."""

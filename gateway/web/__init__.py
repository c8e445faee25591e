"""Pages and pictures: the client's files, the dashboard, the page for iframes, badges, and events as HTML."""

"""GenAuth's (Authing's) V3 management API: brands, envelope, id types, token, users. Knows no chunk and no log."""

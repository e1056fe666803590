"""The databases that keep auth states; `wwauth.authstate` gives them out, and this package is not for importing from."""

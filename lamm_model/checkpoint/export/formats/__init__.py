"""The formats of `lamm model export`: a module here that defines `FORMAT` is one."""

"""See what each channel group of an SGE network looks at, before and after SGE."""

__version__ = "0.1.0"

"""The tests; before any of them imports loracast its shapes are held."""

from tests.shapes import enforce

enforce()

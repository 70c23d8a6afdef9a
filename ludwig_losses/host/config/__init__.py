"""Strict checks of loss sections: as written, across sections, and the messages of mistakes."""

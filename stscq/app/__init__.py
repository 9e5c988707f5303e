"""Try it in a browser: `stscq app`. Each module uses what stands below it alone.

commands.py     `stscq app`: models, judge, server
page.py         the page, of Gradio (the extra `app`); the only module that imports it
show.py         a photo: face, file, reconstruction, the judge's word; and from a file or its QR code back
classic.py      the best that a classic codec makes of the same face in as many bytes
uploads.py      what was uploaded, and nothing else of this machine
models.py       the models at hand, by the size of their files
qr.py           bytes to a QR code and back
"""

"""A bot of pipecat without a model: `bot.py RATE NODE ACCOUNT TOKEN PORT`.

It greets by half a second of 1,000 Hz. At 8 kHz it says back what it hears. Key 1 has it speak for ten seconds, by 500 Hz,
2 interrupts it, 9 ends it, which hangs up by the REST API of the node.
"""

import math
import struct
import sys
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import (
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)
from pipecat.workers.runner import WorkerRunner

RATE, NODE, ACCOUNT, TOKEN, PORT = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
app = FastAPI()


def tone(hertz: int, seconds: float) -> TTSAudioRawFrame:
    step = 2 * math.pi * hertz / RATE
    samples = (int(8000 * math.sin(step * at)) for at in range(int(RATE * seconds)))
    audio = b"".join(struct.pack("<h", sample) for sample in samples)
    return TTSAudioRawFrame(audio=audio, sample_rate=RATE, num_channels=1)


GREETING, SPEECH = tone(1000, 0.5), tone(500, 10)


class Bot(FrameProcessor):
    """Where a bot has its model."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            if RATE == 8000:
                await self.push_frame(
                    OutputAudioRawFrame(
                        audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1
                    )
                )
        elif isinstance(frame, InputDTMFFrame):
            await self.press(frame.button.value)
        else:
            await self.push_frame(frame, direction)

    async def press(self, key: str) -> None:
        if key == "1":
            await self.push_frame(SPEECH)
        elif key == "2":
            await self.broadcast_interruption()
        elif key == "9":
            await self.push_frame(EndFrame())


@app.post("/voice")
async def voice(request: Request) -> Response:
    """Its bot is all of a call, until that one hangs up: the end of the stream alone does not."""
    form = parse_qs((await request.body()).decode())
    document = (
        f'<Response><Connect><Stream url="ws://127.0.0.1:{PORT}/ws">'
        f'<Parameter name="from_number" value="{form["From"][0]}"/></Stream></Connect>'
        '<Pause length="60"/></Response>'
    )
    return Response(document, media_type="text/xml")


@app.websocket("/ws")
async def media(socket: WebSocket) -> None:
    await socket.accept()
    kind, call = await parse_telephony_websocket(socket)
    # As a bot that greets by the caller's number has it.
    assert kind == "twilio" and call["from"], call
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"],
        call_sid=call["call_id"],
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        base_url=NODE,
    )
    params = FastAPIWebsocketParams(
        audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer
    )
    transport = FastAPIWebsocketTransport(websocket=socket, params=params)
    pipeline = Pipeline([transport.input(), Bot(), transport.output()])
    rates = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    worker = PipelineWorker(pipeline, params=rates)

    @transport.event_handler("on_client_connected")
    async def greet(transport: FastAPIWebsocketTransport, socket: WebSocket) -> None:
        await worker.queue_frame(GREETING)

    runner = WorkerRunner(handle_sigint=False)
    await runner.run(worker)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
